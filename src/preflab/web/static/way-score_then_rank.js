// Score then rank: the order so far is shown beside the button, even while the scores are shown again.

import { orderSoFar } from "./label-form.js";
import { start } from "./label.js";

start({ soFar: orderSoFar });
