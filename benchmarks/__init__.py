"""What is measured about LoRA Alloy's speed and memory, and the input that it is measured on."""
