import { type Address, type Memory, type Program, read, relax, rmw, write } from '../../../src/explore.ts';

// 32-bit words, each on a granule (an aligned pair) of its own, so that accesses to two of them commute.
const nextTicket = 0 as Address;
const nowServing = 2 as Address;
const counter = 4 as Address;

function* increment(memory: Memory) {
  const ticket = memory.add32(yield rmw(nextTicket), 1);
  // A turn of a spin loop: it is not tried again before somebody has written the word.
  while (memory.load32(yield read(nowServing)) !== ticket) yield relax(nowServing);
  const seen = memory.load32(yield read(counter));
  memory.store32(yield write(counter), seen + 1);
  memory.store32(yield write(nowServing), ticket + 1);
}

export const ticketLock: Program = {
  name: 'ticket lock',
  words: 6,
  threads: ['a', 'b', 'c'].map((name) => ({ name, run: increment })),
  check: (words) => (words[counter] === 3 ? null : `the counter is ${words[counter]}, not 3`),
};

export default ticketLock;
