"""Rollouts: what the operator asks for, who gets it when, and a pure state machine that drives it."""
