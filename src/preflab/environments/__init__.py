"""Environments: what answers the policy in rollouts of several turns."""
