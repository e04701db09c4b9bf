"""Backbones: meta-training runs, imports, manifests, model cards, evaluation."""
