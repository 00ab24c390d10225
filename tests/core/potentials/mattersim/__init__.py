"""Tests of the MatterSim model; ``golden/`` holds what the official package computes from two checkpoints of ours."""
