// The component: what `build.mjs` is told to build.

import { component } from "@sawlog/sdk";
import { Tidy } from "./tidy.js";

export const { lifecycle, transform } = component(Tidy);
