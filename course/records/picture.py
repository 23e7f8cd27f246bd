"""Draw the README's picture from the record of the main task.

python course/records/picture.py
"""

from pathlib import Path

from lora_lab import records, show

if __name__ == "__main__":
    rows = records.load("open_book")["rows"]
    fig = show.methods(rows, "QLoRA learns the new task as well as training every weight does")
    fig.savefig(Path(__file__).parents[1] / "picture.png", dpi=110, metadata={"Software": None})
