// Side by side: a completion marked F cannot be the better one.

import { takeBackFailed } from "./label-form.js";
import { start } from "./label.js";

start({ tidy: takeBackFailed });
