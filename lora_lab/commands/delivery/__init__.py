"""The course in a learner's folder: what is delivered, what is kept, and what is carried over into a new version."""

from lora_lab.commands.delivery.folder import Delivery, deliver
from lora_lab.commands.delivery.material import Item

__all__ = ["Delivery", "Item", "deliver"]
