"""The generated world, the tasks about it, and how text becomes tensors."""

from lora_lab.data import batches, corpus, tasks, world
from lora_lab.data.tasks import Example, Task
from lora_lab.data.world import Person, World

__all__ = ["Example", "Person", "Task", "World", "batches", "corpus", "tasks", "world"]
