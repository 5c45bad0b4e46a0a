// Ranking: the order so far is shown beside the button.

import { orderSoFar } from "./label-form.js";
import { start } from "./label.js";

start({ soFar: orderSoFar });
