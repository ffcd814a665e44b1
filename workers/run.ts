/** A thread of a workload. */
import { workerMain } from '../src/engines/threads/worker-main.ts';
import * as points from '../src/machine/point.direct.ts';
import { runProgram } from '../src/workloads/programs/index.ts';

export default workerMain(points, runProgram);
