/** All structures that tools can decode, by architecture. A further architecture is one more entry of `STRUCTURE_SETS`. */
import { AMDVI_STRUCTURES } from './amdvi/structures.ts'
import { RISCV_STRUCTURES } from './riscv/structures.ts'
import { SMMUV3_STRUCTURES } from './smmuv3/structures.ts'
import type { Found, StructureSet } from './structure.ts'
import { VTD_STRUCTURES } from './vtd/structures.ts'

export const STRUCTURE_SETS: readonly StructureSet[] = [SMMUV3_STRUCTURES, RISCV_STRUCTURES, VTD_STRUCTURES, AMDVI_STRUCTURES]

/**
 * Structures of this name, whatever its case; several when architectures share the name. `smmuv3:STE` asks for one architecture, and
 * registers may carry their manual's prefix (`SMMU_IDR0`).
 */
export function structuresNamed(name: string, sets: readonly StructureSet[] = STRUCTURE_SETS): Found[] {
  const colon = name.indexOf(':')
  const key = colon < 0 ? null : name.slice(0, colon).toLowerCase()
  const wanted = name.slice(colon + 1).toUpperCase()
  const found: Found[] = []
  for (const set of sets) {
    if (key !== null && set.key !== key) continue
    for (const structure of set.structures) {
      const plain = structure.name.toUpperCase()
      const prefixed = structure.kind === 'register' && set.registerPrefix !== '' && wanted === set.registerPrefix + plain
      if (wanted === plain || prefixed) found.push({ set, structure })
    }
  }
  return found
}
