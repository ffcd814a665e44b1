// resumable
/** A thread that simulates. */
export { serveSimulation as default } from '../src/simulate/worker.ts';
