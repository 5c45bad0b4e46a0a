"""Intervals, tests and sample sizes: every interval that preflab prints is computed here.

Each file holds one kind of figure. How often each interval covers the true value: docs/experiments/intervals.md.
"""
