"""What is predicted: the only place that knows losses, scales and default metrics.

A network returns ``raw`` numbers, ``n_outputs`` per target unit. What they mean, how they are
scored against the truth and how they become probabilities is decided here; a kind is one class:

==============  =======================  ===========================================  ============
kind            raw                      loss                                         default score
==============  =======================  ===========================================  ============
binary          logit of the positive    Bernoulli negative log likelihood            roc_auc
multiclass      logit of each class      categorical negative log likelihood          roc_auc
multilabel      logit of each label      Bernoulli negative log likelihood, summed    roc_auc
ordinal         logits of P(y > k)       cumulative-logit negative log likelihood     spearman
binomial        logit of each count      binomial negative log likelihood, summed     spearman
regression      standardised value       squared error / 2                            r2
survival        risk, or hazards         partial or censored log likelihood, negative c_index
==============  =======================  ===========================================  ============
"""

# each registers its kind
from smalti.task import classes as classes
from smalti.task import multilabel as multilabel
from smalti.task import ordinal as ordinal
from smalti.task import quantities as quantities
from smalti.task import survival as survival
from smalti.task.base import NOTHING, Task

__all__ = ["NOTHING", "Task"]
