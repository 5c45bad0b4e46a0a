// Thumbs: verdicts need nothing beyond the form.

import { start } from "./label.js";

start();
