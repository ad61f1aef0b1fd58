declare module 'landfall/landfall.wasm' {
  /** Where the bundler has put the file. */
  const url: string;
  export default url;
}
