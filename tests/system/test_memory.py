"""What memory is free, as the machine, a control group and a job say."""

from smalti.system import memory


def test_room_is_the_least_that_any_of_them_leaves(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_machine", lambda: 10 * 2**30)
    monkeypatch.setattr(memory, "_groups", lambda *_: [])
    monkeypatch.delenv("SLURM_MEM_PER_NODE", raising=False)
    assert memory.room() == 10 * 2**30
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "8192")
    assert 4 * 2**30 < memory.room() < 8 * 2**30  # less what this process takes


def test_a_control_group_gives_up_its_files_but_no_more(monkeypatch, tmp_path):
    (tmp_path / "memory.max").write_text("1000")
    (tmp_path / "memory.current").write_text("700")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    names = ("memory.max", "memory.current")
    monkeypatch.setattr(memory, "_groups", lambda of, *_: [] if of else [(tmp_path, *names)])
    monkeypatch.setattr(memory, "_machine", lambda: 10**9)
    monkeypatch.delenv("SLURM_MEM_PER_NODE", raising=False)
    assert memory.room() == 450
    (tmp_path / "memory.max").write_text("max")
    assert memory.room() == 10**9


def test_the_machine_says_something():
    assert memory.room() > 0
