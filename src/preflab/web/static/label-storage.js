// What this browser keeps between pages; where storage is full or forbidden, it keeps nothing and says nothing.

export function read(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}

/** Keeps a value, or with null forgets it. */
export function write(key, value) {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, JSON.stringify(value));
  } catch {
    // The server's copy of a draft, and this page, still hold it.
  }
}

/** The keys that begin like this. */
export function keysLike(beginning) {
  try {
    return Object.keys(localStorage).filter((key) => key.startsWith(beginning));
  } catch {
    return [];
  }
}
