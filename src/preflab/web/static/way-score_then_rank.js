// Score then rank: the order so far stands beside the button, also while the scores are shown again.

import { orderSoFar } from "./label-form.js";
import { start } from "./label.js";

start({ soFar: orderSoFar });
