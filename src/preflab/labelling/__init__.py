"""Campaigns as they run: people, assignment, submissions, drafts, quality. No HTTP and no torch.

Every function takes an open `Workspace` first, and every change writes its audit event in the same transaction.
"""
