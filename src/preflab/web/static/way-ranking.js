// Ranking: the order so far stands beside the button.

import { orderSoFar } from "./label-form.js";
import { start } from "./label.js";

start({ soFar: orderSoFar });
