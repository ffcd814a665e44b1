/**
 * Oracle: no linked SPTE stays frozen. Whoever freezes one replaces it before it lets go of mmu_lock (tdp_mmu_zap_spte_atomic);
 * what stays frozen makes every fault on it retry for ever.
 */
import { hex, type StateOracle } from './oracle.ts';
import { walkTables, whereOf } from './table-walk.ts';

export const frozenOracle: StateOracle = {
  name: 'frozen',
  help: 'no SPTE of a linked table is frozen',
  check(state, found) {
    const { spte: format, generation } = state.kvm;
    walkTables(state, (at) => {
      if (!format.isFrozen(at.spte)) return;
      const what = `level ${at.level}, gfn ${hex(at.gfn)}, root ${at.root}`;
      found.report('left-frozen', whereOf(at), `${what}: the SPTE is still ${generation.frozenName}`);
    });
  },
};
