/** A page whose styles and scripts the build has put into it. */
declare module '*.html' {
  const text: string;
  export default text;
}
