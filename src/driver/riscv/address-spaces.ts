/**
 * Address spaces and their tags: PSCIDs for first stages, GSCIDs for second ones. Both are software's to choose, and every IOMMU has all of
 * their bits. Unlike an Arm ASID, a PSCID has nothing to do with the CPU: IOMMUs do not hear of SFENCE.VMA, so a process gets a number of
 * its own here, and each change of its tables must be told by IOTINVAL.VMA. One number must not name two tables at a time; it is given out
 * again only after an IOTINVAL.VMA. RISC-V IOMMU 1.0, "Process-context fields", "Caching in-memory data structures".
 */
import type { Op } from '../../base/op.ts'
import type { DriverIoMm } from '../../core/driver.ts'
import { IommError } from '../../core/error.ts'
import type { RiscvFeatures } from '../../format/riscv/features.ts'
import { newProcess, type SpaceFormats } from '../common/address-spaces.ts'
import type { AddressSpace } from '../common/state.ts'
import { TagAllocator } from '../common/tags.ts'
import type { Modes } from './configuration.ts'
import { privatePc, sharedPc } from './entries.ts'
import type { RiscvDriverOptions } from './options.ts'
import { shapeOf } from './spaces.ts'
import { cpuMode } from './sva.ts'

type CpuSpace = NonNullable<DriverIoMm['mm']>

const PSCID_BITS = 20
const GSCID_BITS = 16

export function spaceFormats(
  features: RiscvFeatures,
  options: RiscvDriverOptions,
  modes: Modes,
): SpaceFormats & { readonly tags: TagAllocator<AddressSpace> } {
  return {
    stage1: () => shapeOf(features, modes.stage1, 1, options.mode),
    stage2: () => shapeOf(features, modes.stage2, 2, options.mode),
    entry: (space, pscid) => privatePc(space, modes.stage1!, pscid),
    tags: new TagAllocator('PSCID', PSCID_BITS),
    guestTags: new TagAllocator('GSCID', GSCID_BITS),
  }
}

/** A process under a PSCID of its own. @param empty a page of zeros: where its entries lead when it has exited. @throws IommError */
export function newShared(
  features: RiscvFeatures,
  tags: TagAllocator<AddressSpace>,
  mm: CpuSpace,
  empty: number,
): Op<AddressSpace> {
  const mode = cpuMode(features, mm)
  if (mode === null)
    throw new IommError('Unsupported', `the tables of ${mm.name} are ${mm.space.format.name}, which the IOMMU does not walk`)
  // An exited process: one store of 64 bits, to the pointer. See docs/differences.md for what this keeps quiet, and what not.
  return newProcess(mm, tags, ({ tag, exited }) => sharedPc(exited ? empty : mm.space.root, mode, tag))
}
