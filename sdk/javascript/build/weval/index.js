// In place of weval, which componentize-js uses when it is asked to compile ahead of time. It is not.

export default async () => {
  throw new Error("this build does not compile ahead of time");
};
