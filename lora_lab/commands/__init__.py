"""What is typed in a shell: `lora-lab doctor`, `demo`, `finetune`, `memory`; which machine a figure was measured on."""
