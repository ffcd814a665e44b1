/**
 * Step oracle: every reference to a root has an owner, who alone gives it back.
 *
 * A thread that takes a reference owns a token; who makes a root owns one, and the MMU has another, which goes to the thread that
 * takes the root off the schedule of zaps. Whoever puts a reference gives up a token of its own.
 */
import { own, StepKind } from '../../machine/point.ts';
import { KvmWord } from '../../mmu/kvm.ts';
import { PageHeader } from '../../mmu/mmu-page.ts';
import { VcpuArea, VcpuWord } from '../../vm/vcpu-layout.ts';
import { QuiescentState } from '../quiescent-state.ts';
import type { StepOracle } from '../step-oracle.ts';
import type { StepWorld } from '../step-world.ts';
import type { ThreadView } from '../thread-view.ts';

interface RootTokens {
  count: number;
  scheduled: boolean;
  /** The MMU's own reference, while no thread has it. */
  mmu: number;
  /** Tokens of each thread. */
  readonly threads: number[];
}

export function rootReferencesOracle(): StepOracle {
  const roots = new Map<number, RootTokens>();
  /** Those at the start of an execution. */
  const first = new Map<number, RootTokens>();
  const load = (world: StepWorld, root: number, index: number): number =>
    world.memory.load32(own(world.kvm.pages.word(root, index)));
  const adopt = (world: StepWorld, root: number): RootTokens => {
    const count = load(world, root, PageHeader.rootCount);
    const scheduled = load(world, root, PageHeader.scheduledRootToZap) !== 0;
    const tokens = { count, scheduled, mmu: 0, threads: world.threads.map(() => 0) };
    roots.set(root, tokens);
    return tokens;
  };
  return {
    name: 'root-references',
    help: 'who puts a reference to a root has taken one',
    prepare(world) {
      world.watch(world.kvm.word(KvmWord.roots));
      roots.clear();
      first.clear();
      for (const root of new QuiescentState(world.vm).roots()) {
        const tokens = adopt(world, root);
        for (const thread of world.threads) {
          tokens.threads[thread.id] += rootsOf(world, thread).filter((held) => held === root).length;
        }
        tokens.mmu = tokens.count - tokens.threads.reduce((a, b) => a + b, 0);
        first.set(root, tokens);
      }
    },
    start() {
      roots.clear();
      for (const [root, tokens] of first) roots.set(root, { ...tokens, threads: [...tokens.threads] });
    },
    access(world, thread, kind, a) {
      if (kind === StepKind.Read || a !== world.kvm.word(KvmWord.roots)) return;
      const root = world.memory.load32(own(a));
      if (root === 0 || roots.has(root)) return;
      const tokens = adopt(world, root);
      tokens.threads[thread.id] = 1;
      tokens.mmu = tokens.count - 1;
    },
    headerAccess(world, thread, kind, root, a) {
      const tokens = kind === StepKind.Read ? undefined : roots.get(root);
      if (tokens === undefined) return;
      if (a === world.kvm.pages.word(root, PageHeader.scheduledRootToZap)) {
        const scheduled = load(world, root, PageHeader.scheduledRootToZap) !== 0;
        if (tokens.scheduled && !scheduled && tokens.mmu > 0) {
          tokens.mmu--;
          tokens.threads[thread.id]++;
        }
        tokens.scheduled = scheduled;
      } else if (a === world.kvm.pages.word(root, PageHeader.rootCount)) {
        const count = load(world, root, PageHeader.rootCount);
        const change = count - tokens.count;
        tokens.count = count;
        tokens.threads[thread.id] += change;
        if (tokens.threads[thread.id] < 0 && world.kvm.generation.rootZapBy === 'worker') handOver(world, tokens, thread.id);
        if (tokens.threads[thread.id] < 0) {
          const message = `${thread.name} puts a reference to root ${root} that it has not taken: ${count} are left`;
          world.fail(this, 'put-without-get', { thread: thread.id, root }, message);
        }
        if (count === 0) roots.delete(root);
      }
    },
    end(world) {
      for (const [root, { threads }] of roots) {
        for (const thread of world.threads) {
          if (thread.vcpu >= 0 || threads[thread.id] === 0) continue;
          const message = `${thread.name} has ended with ${threads[thread.id]} references to root ${root}`;
          world.fail(this, 'reference-kept', { thread: thread.id, root }, message);
        }
      }
    },
  };
}

/** The roots that the vCPU of a thread holds references to: the one in use, and cached ones. */
function rootsOf(world: StepWorld, { vcpu, cpu }: ThreadView): readonly number[] {
  if (cpu !== null) return [cpu.mmu.root, ...cpu.mmu.prevRoots];
  return vcpu < 0 ? [] : [world.memory.load32(own(new VcpuArea(world.vm.vcpuArea(vcpu), world.vm.config).word(VcpuWord.root)))];
}

/** A root on the queue of tdp_mmu_zap_wq carries a reference: whoever queued it hands it over to the one who zaps it. */
function handOver(world: StepWorld, tokens: RootTokens, to: number): void {
  const from = world.threads.find(({ id, vcpu }) => id !== to && vcpu < 0 && tokens.threads[id] > 0);
  if (from !== undefined) tokens.threads[from.id]--;
  else if (tokens.mmu > 0) tokens.mmu--;
  else return;
  tokens.threads[to]++;
}
