// Likert: the form needs nothing specific.

import { start } from "./label.js";

start();
