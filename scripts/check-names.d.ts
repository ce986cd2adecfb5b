/** Types of check-names.js, which plain Node runs. */
export const REGISTRIES: readonly string[]
export function namesIn(name: string, text: string): string[]
export function check(root: string): string[]
