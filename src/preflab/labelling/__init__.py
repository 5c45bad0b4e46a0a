"""Runs labelling campaigns: accounts, assignment of tasks, submissions, drafts, quality. No HTTP and no torch.

Public functions take an open `Workspace` as the first argument. A change and its audit event share one transaction.
"""
