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

// (γλ)^(T−1−t) · R
function endCredit(row, gamma, lambda) {
  return tokensAfter(row).map((after) => (gamma * lambda) ** after * row.reward);
}

// A_t = δ_t + γλ · A_{t+1}, δ_t = r_t + γ · V_{t+1} − V_t, from the recorded values and the reward at the end alone.
// Before a gap it is not known, because the values within the gap are not on the page.
function endAdvantage(row, gamma, lambda) {
  const values = numbersOf(row, "values");
  const advantages = new Float64Array(row.tokens.length).fill(NaN);
  let [nextValue, nextAdvantage, reward] = [0, 0, row.reward];
  for (let index = row.tokens.length - 1; index >= (row.gap ? row.head : 0); index--) {
    if (row.skipped.has(index)) continue;
    const delta = reward + gamma * nextValue - values[index];
    advantages[index] = nextAdvantage = delta + gamma * lambda * nextAdvantage;
    [nextValue, reward] = [values[index], 0];
  }
  return advantages;
}
