"""What the engine gains over plain PyTorch, measured side by side: `python -m benchmarks`."""
