"""What is typed in a shell: `lora-lab doctor`, `demo` and `memory`, and which machine a figure was measured on."""
