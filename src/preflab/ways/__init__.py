"""One file per way of judging: answer, JSON, check, reordering, outcomes, words, form and simulation of each."""
