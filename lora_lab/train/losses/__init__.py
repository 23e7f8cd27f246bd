"""What a training loop can lower: `Loss` says what a loss is, the rest are some.

answers         of a causal language model, over the labels that are not -100
every_token     of a causal language model, over everything that is no padding
cross_entropy   classification: (inputs, classes)
squared_error   regression: (inputs, numbers)
"""

from lora_lab.train.losses.examples import cross_entropy, squared_error
from lora_lab.train.losses.protocol import Loss
from lora_lab.train.losses.tokens import answers, every_token

__all__ = ["Loss", "answers", "cross_entropy", "every_token", "squared_error"]
