"""A small exercise of four tasks: what is asked, the solution, and tests as an instructor would write them.

Each task has a test that students see and one that is hidden, of random inputs, and is worth a point. The tests of the
two other graders are these very lines; ours are a check, as its own form wants it, of the same inputs.
"""

from dataclasses import dataclass

NAME = "lora_basics"
HIDDEN = "only the instructor reads this line"  # stands in every hidden test
SOLUTION = "the instructor's own solution"  # and in every solution


@dataclass(frozen=True)
class Task:
    """One function that students write.

    Attributes:
        name, arguments: the function's.
        says: what it gives.
        solution: its body, of one line.
        shown: a test that students see.
        hidden: the test that they do not.
        check: our check of the inputs of `hidden`.
    """

    name: str
    arguments: str
    says: str
    solution: str
    shown: str
    hidden: str
    check: str

    @property
    def solved(self) -> str:
        """The function with the solution in it."""
        return f"def {self.name}({self.arguments}):\n    # {SOLUTION}\n    {self.solution}\n"


TASKS = (
    Task(
        "scaled_update",
        "A, B, alpha",
        "A [r, d_in], B [d_out, r], a number -> [d_out, d_in], the update α/r · B·A",
        "return alpha / A.shape[0] * (B @ A)",
        "assert scaled_update(torch.ones(2, 3), torch.ones(4, 2), 2.0).shape == (4, 3)",
        "A, B, alpha = torch.randn(3, 7), torch.randn(5, 3), 6.0\n"
        "wanted = alpha / 3 * B @ A\n"
        "torch.testing.assert_close(scaled_update(A, B, alpha), wanted)",
        "    A, B, alpha = torch.randn(3, 7), torch.randn(5, 3), 6.0\n"
        "    require_close(f(A, B, alpha), alpha / 3 * B @ A)",
    ),
    Task(
        "adapted_forward",
        "x, weight, A, B, alpha",
        "x [n, d_in], weight [d_out, d_in] and the arguments of 1 -> [n, d_out], the adapted layer's output",
        "return x @ weight.T + alpha / A.shape[0] * (x @ A.T @ B.T)",
        "assert adapted_forward(torch.ones(2, 3), torch.ones(4, 3), torch.ones(2, 3), torch.ones(4, 2), 2.0)"
        ".shape == (2, 4)",
        "x, weight = torch.randn(6, 7), torch.randn(5, 7)\n"
        "A, B, alpha = torch.randn(3, 7), torch.randn(5, 3), 6.0\n"
        "wanted = x @ (weight + alpha / 3 * B @ A).T\n"
        "torch.testing.assert_close(adapted_forward(x, weight, A, B, alpha), wanted)",
        "    x, weight = torch.randn(6, 7), torch.randn(5, 7)\n"
        "    A, B, alpha = torch.randn(3, 7), torch.randn(5, 3), 6.0\n"
        "    require_close(f(x, weight, A, B, alpha), x @ (weight + alpha / 3 * B @ A).T)",
    ),
    Task(
        "added_parameters",
        "d_in, d_out, r",
        "three integers -> how many parameters an adapter of rank r adds to a linear layer",
        "return r * (d_in + d_out)",
        "assert added_parameters(2, 3, 1) == 5",
        "d_in, d_out, r = torch.randint(1000, 2000, (3,)).tolist()\n"
        "wanted = r * (d_in + d_out)\n"
        "assert added_parameters(d_in, d_out, r) == wanted",
        "    d_in, d_out, r = torch.randint(1000, 2000, (3,)).tolist()\n"
        "    if plain_number(f(d_in, d_out, r), 'for three integers') != r * (d_in + d_out):\n"
        "        raise Wrong('that is not the number of added parameters')",
    ),
    Task(
        "block_maxima",
        "values, block",
        "values [n], an integer -> [⌈n / block⌉], the largest absolute value of each block; the last may be short",
        "return torch.stack([part.abs().max() for part in values.split(block)])",
        "assert block_maxima(torch.ones(5), 2).shape == (3,)",
        "values = torch.randn(27)\n"
        "wanted = torch.stack([values[at : at + 4].abs().max() for at in range(0, 27, 4)])\n"
        "torch.testing.assert_close(block_maxima(values, 4), wanted)",
        "    values = torch.randn(27)\n"
        "    wanted = torch.stack([values[at : at + 4].abs().max() for at in range(0, 27, 4)])\n"
        "    require_close(f(values, 4), wanted)",
    ),
)
NAMES = tuple(task.name for task in TASKS)
