// Inside a component the engine's clock stands where it stood at the build, and its random numbers go on from call to call: an
// output made of them would depend on where batches are cut. So whoever asks is told what to ask instead. What runs at the build,
// such as the set-up of a library, may ask.

function refused(what, instead) {
  return () => {
    throw new Error(`a plugin has no ${what}: ${instead}`);
  };
}

const clock = refused("clock", "take `batch.time`, or the event times of the rows");
const random = refused("random numbers", "take the column `$rid`, which is another in every record");

/** Takes the clock and the random numbers from `scope`, a global object. */
export function seal(scope) {
  const Time = scope.Date;
  scope.Date = new Proxy(Time, {
    apply: clock,
    construct: (target, values, by) => (values.length === 0 ? clock() : Reflect.construct(target, values, by)),
  });
  Time.now = clock;
  scope.Math.random = random;
  for (const name of ["getRandomValues", "randomUUID"]) {
    Object.defineProperty(scope.crypto, name, { value: random });
  }
}
