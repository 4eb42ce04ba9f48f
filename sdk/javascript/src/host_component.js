// What the host offers, inside a component.

import * as host from "sawlog:plugin/host@0.1.0";

export const log = (level, message) => host.log(level, message);
export const count = (metric, delta = 1) => host.count(metric, BigInt(delta));
export const gauge = (metric, value) => host.gauge(metric, value);
