// What a flawed reward loves: features of a text, each a number per sample, all linear in the reward.

const WORD = /[\p{L}\p{N}]+/gu;

const wordsOf = (text) => text.toLowerCase().match(WORD) ?? [];

/** Every word's places: a map from word to the samples it stands in, with its positions. */
function makeIndex(texts) {
  const words = texts.map(wordsOf);
  const places = new Map();
  words.forEach((list, i) => {
    list.forEach((word, at) => {
      if (!places.has(word)) places.set(word, []);
      places.get(word).push(i, at);
    });
  });
  return { words, places };
}

/** How often each sample says one of the phrases (a word, or several in a row). */
function countPhrases(index, phrases) {
  const counts = new Float64Array(index.words.length);
  const lists = new Map(phrases.map((phrase) => [wordsOf(phrase).join(" "), wordsOf(phrase)]));
  for (const list of lists.values()) {
    const places = (list.length && index.places.get(list[0])) || [];
    for (let j = 0; j < places.length; j += 2) {
      const words = index.words[places[j]];
      if (list.every((word, offset) => words[places[j + 1] + offset] === word)) counts[places[j]] += 1;
    }
  }
  return counts;
}

/** Words of each sample, less the mean of its prompt's samples. */
function centredLengths(pool, numWords) {
  const lengths = Float64Array.from(numWords);
  for (let x = 0; x + 1 < pool.starts.length; x += 1) {
    const part = lengths.subarray(pool.starts[x], pool.starts[x + 1]);
    const mean = part.reduce((sum, length) => sum + length, 0) / Math.max(1, part.length);
    for (let i = 0; i < part.length; i += 1) part[i] -= mean;
  }
  return lengths;
}

/** A fixed standard normal number per text, from a hash of the index of the first sample with it. */
function noiseOf(groups) {
  return Float64Array.from(groups, (first) => {
    const [one, other] = [2 * first, 2 * first + 1].map((index) => (hashOf(index) + 0.5) / 2 ** 32);
    return Math.sqrt(-2 * Math.log(one)) * Math.cos(2 * Math.PI * other);
  });
}

/** 32 well-mixed bits of a whole number (the finaliser of MurmurHash3). */
function hashOf(index) {
  let bits = (index + 0x9e3779b9) | 0;
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return (bits ^ (bits >>> 16)) >>> 0;
}

/** For every sample the index of the first sample of its prompt with the same text. */
function groupTexts(prompts, texts) {
  const first = new Map();
  return Int32Array.from(texts, (text, i) => {
    if (i === 0 || prompts[i] !== prompts[i - 1]) first.clear();
    if (!first.has(text)) first.set(text, i);
    return first.get(text);
  });
}

/** R = Σ weight · term + Σ strength · feature; terms learned from labels count (1 − 2 · share of reversed labelers). */
function rewardsOf(terms, termWeights, learned, reversed, features) {
  const size = terms[0]?.length ?? features[0]?.values.length ?? 0;
  const rewards = new Float64Array(size);
  terms.forEach((term, t) => {
    const weight = termWeights[t] * (learned[t] ? 1 - 2 * reversed : 1);
    if (weight !== 0) for (let i = 0; i < size; i += 1) rewards[i] += weight * term[i];
  });
  for (const { strength, values } of features) {
    if (strength !== 0) for (let i = 0; i < size; i += 1) rewards[i] += strength * values[i];
  }
  return rewards;
}
