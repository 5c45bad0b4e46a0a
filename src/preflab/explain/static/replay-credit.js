// How the reward at the end of a rollout flows back to its tokens: the formulas of the page's help.

// For each token on the page: how many written tokens follow it in the rollout, T − 1 − t; NaN where it is not written.
function tokensAfter(row) {
  const after = new Float64Array(row.tokens.length);
  let following = 0;
  for (let index = row.tokens.length - 1; index >= 0; index--) {
    if (row.gap && index === row.head - 1) following += row.gapWritten;
    after[index] = row.skipped.has(index) ? NaN : following++;
  }
  return after;
}

// The reward at each token: of each turn at its last token, everything else of R at the very end.
function rewardsAt(row) {
  const rewards = new Float64Array(row.tokens.length);
  for (let index = 0; row.turns && index < row.tokens.length; index++) {
    if (isLastOfTurn(row, index)) rewards[index] = row.turns[turnOf(row, index)].reward ?? 0;
  }
  const last = row.tokens.findLastIndex((_, index) => !row.skipped.has(index));
  if (last >= 0) rewards[last] += row.reward - sum((row.turns ?? []).map((turn) => turn.reward ?? 0));
  return rewards;
}

// In a dialogue: the sum over the rewards from here on, each (γλ)^(tokens of the policy between) times; else
// (γλ)^(T−1−t) · R. Before a gap in a dialogue it is not known, because the rewards within the gap have no place there.
function endCredit(row, gamma, lambda) {
  if (row.turns) return turnCredit(row, gamma * lambda);
  return tokensAfter(row).map((after) => (gamma * lambda) ** after * row.reward);
}

function turnCredit(row, discount) {
  const [rewards, credits] = [rewardsAt(row), new Float64Array(row.tokens.length).fill(NaN)];
  let following = 0;
  for (let index = row.tokens.length - 1; index >= (row.gap ? row.head : 0); index--) {
    if (!row.skipped.has(index)) credits[index] = following = rewards[index] + discount * following;
  }
  return credits;
}

// A_t = δ_t + γλ · A_{t+1}, δ_t = r_t + γ · V_{t+1} − V_t, from the recorded values and the rewards at the ends alone.
// Before a gap it is not known, because the values within the gap are not on the page.
function endAdvantage(row, gamma, lambda) {
  const [values, rewards] = [numbersOf(row, "values"), rewardsAt(row)];
  const advantages = new Float64Array(row.tokens.length).fill(NaN);
  let [nextValue, nextAdvantage] = [0, 0];
  for (let index = row.tokens.length - 1; index >= (row.gap ? row.head : 0); index--) {
    if (row.skipped.has(index)) continue;
    const delta = rewards[index] + gamma * nextValue - values[index];
    advantages[index] = nextAdvantage = delta + gamma * lambda * nextAdvantage;
    nextValue = values[index];
  }
  return advantages;
}
