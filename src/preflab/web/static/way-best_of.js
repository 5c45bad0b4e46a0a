// Best of several: a completion marked F cannot be the best one.

import { takeBackFailed } from "./label-form.js";
import { start } from "./label.js";

start({ tidy: takeBackFailed });
