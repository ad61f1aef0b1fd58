/** A sample of times, as the server sends it: how exact it is, then pairs of a mean and how many values it stands for. */
export class Digest {
  readonly #points: readonly {readonly mean: number; readonly weight: number}[];

  constructor(numbers: readonly number[] = []) {
    const points = [];
    for (let i = 1; i + 1 < numbers.length; i += 2) {
      points.push({mean: numbers[i]!, weight: numbers[i + 1]!});
    }
    this.#points = points.sort((a, b) => a.mean - b.mean);
  }

  /** How many values there are. */
  count(): number {
    return this.#points.reduce((sum, {weight}) => sum + weight, 0);
  }

  /** The value that this share of all values does not exceed; `NaN` without values. */
  quantile(share: number): number {
    const wanted = share * this.count();
    let passed = 0;
    for (const {mean, weight} of this.#points) {
      passed += weight;
      if (passed >= wanted) {
        return mean;
      }
    }
    return NaN;
  }
}
