// Stores values in this browser between pages; if storage is full or forbidden, nothing is stored, without an error.

export function read(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}

/** Stores a value; null deletes it. */
export function write(key, value) {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, JSON.stringify(value));
  } catch {
    // The value is still on this page, and a draft is on the server too.
  }
}

/** The keys with this prefix. */
export function keysLike(beginning) {
  try {
    return Object.keys(localStorage).filter((key) => key.startsWith(beginning));
  } catch {
    return [];
  }
}
