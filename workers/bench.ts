/** A thread of a benchmark. */
import { runBenchProgram } from '../bench/programs/index.ts';
import { workerMain } from '../src/engines/threads/worker-main.ts';
import * as points from '../src/machine/point.direct.ts';

export default workerMain(points, runBenchProgram);
