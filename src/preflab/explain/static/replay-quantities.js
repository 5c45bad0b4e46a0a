// The quantities of a token: name, unit, what it means, where its neutral value lies, how it is computed.
const policyLogps = (row) => numbersOf(row, "trainer_logps") ?? numbersOf(row, "logps");
const recorded = (name) => (row) => numbersOf(row, name);

function difference(first, second) {
  return first && second ? Float64Array.from(first, (value, index) => value - second[index]) : null;
}

// 1 for a token that ends a 3-gram of one turn which the policy has written before. After a gap the earlier ones are
// not all known. NaN for a token that the policy did not write.
function repeats(row) {
  const [seen, marks] = [new Set(), Float64Array.from(row.tokens, (_, index) => (row.skipped.has(index) ? NaN : 0))];
  const names = row.ids ?? row.tokens;
  for (let index = 2; index < names.length; index++) {
    if ([index, index - 1, index - 2].some((each) => row.skipped.has(each))) continue;
    const gram = JSON.stringify(names.slice(index - 2, index + 1));
    if (seen.has(gram)) marks[index] = 1;
    seen.add(gram);
  }
  return marks;
}

const settingsOf = (row) => runs[row.run].settings;
const gammaOf = (row) => settingsOf(row).gamma ?? 1;

// kind: "both" has values on both sides of `neutral`; "above" begins at 0; "below" ends at 0.
const QUANTITIES = [
  { name: "logratio", label: "log-ratio to the reference", unit: "nats", kind: "both", neutral: 0,
    help: "log π − log π_ref of the token. Above 0: the policy writes it more readily than the reference does.",
    of: (row) => difference(policyLogps(row), numbersOf(row, "ref_logps")) },
  { name: "kl", label: "KL to the reference", unit: "nats", kind: "above",
    help: "Exact KL(policy ‖ reference) of the distribution that the token was sampled from. The sum over a completion is its KL.",
    of: recorded("kl") },
  { name: "advantages", label: "advantage", unit: "", kind: "both", neutral: 0,
    help: "The weight of the token in the policy's loss, as the update used it. Above 0: the token is made likelier.",
    of: recorded("advantages") },
  { name: "values", label: "value", unit: "", kind: "both", neutral: 0,
    help: "The reward that the value role expected before this token was written.", of: recorded("values") },
  { name: "returns", label: "return", unit: "", kind: "both", neutral: 0,
    help: "What the value role learns to predict: advantage before whitening plus value.", of: recorded("returns") },
  { name: "ratio", label: "ratio π / π_old", unit: "", kind: "both", neutral: 1, log: true,
    help: "How much likelier the token had become when the step's update visited it last; 1 if it was visited once. Coloured by its logarithm.",
    of: recorded("ratio") },
  { name: "entropy", label: "entropy", unit: "nats", kind: "above",
    help: "Entropy of the distribution that the token was sampled from. Near 0: the policy had no choice.",
    of: recorded("entropy") },
  { name: "logps", label: "log-probability", unit: "nats", kind: "below",
    help: "log π of the token under the policy, computed by the trainer. Far below 0: a token that the policy rarely writes.",
    of: policyLogps },
  { name: "mismatch", label: "sampler less trainer", unit: "nats", kind: "both", neutral: 0,
    help: "Difference of the two log-probabilities of the token. Rounding alone in an exact engine; more where sampler and trainer hold other weights.",
    of: (row) => difference(numbersOf(row, "sampler_logps"), numbersOf(row, "trainer_logps")) },
  { name: "repeat", label: "repeats an earlier 3-gram", unit: "", kind: "above",
    help: "1 for a token that ends three tokens which this completion has had before.",
    of: (row) => (row.side && !policyLogps(row) ? null : repeats(row)) },
  { name: "credit", label: "credit of the end reward", unit: "", kind: "both", neutral: 0, slides: true,
    help: "(γλ)^(T−1−t) · R: what the reward at the end contributes to the advantage of this token at the chosen λ. In a dialogue each turn's reward counts from the end of its turn.",
    of: (row, lambda) => (row.reward === null || row.side ? null : endCredit(row, gammaOf(row), lambda)) },
  { name: "gae", label: "advantage from the end reward", unit: "", kind: "both", neutral: 0, slides: true,
    help: "Advantage at the chosen λ from the recorded values and the rewards at the ends, without KL penalty and whitening.",
    of: (row, lambda) => (row.reward === null || !numbersOf(row, "values") ? null : endAdvantage(row, gammaOf(row), lambda)) },
];

const quantityCalled = (name) => QUANTITIES.find((each) => each.name === name);
const has = (row, quantity) => quantity.of(row, 1) !== null;

// How far a value lies from the neutral one, in the unit in which it is coloured.
function distance(quantity, value) {
  if (quantity.kind === "below") return -value;
  const neutral = quantity.neutral ?? 0;
  return quantity.log ? Math.log(value) - Math.log(neutral) : value - neutral;
}

// The value at a distance: the inverse of `distance`.
function valueAt(quantity, far) {
  if (quantity.kind === "below") return -far;
  const neutral = quantity.neutral ?? 0;
  return quantity.log ? neutral * Math.exp(far) : neutral + far;
}

const withUnit = (quantity, text) => (quantity.unit ? `${text} ${quantity.unit}` : text);
const shownValue = (quantity, value, digits = 4) => (quantity.kind === "both" && !quantity.log ? signed(value, digits) : number(value, digits));
