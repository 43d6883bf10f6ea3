-- Move marks of the history forward, unless their member moved them meanwhile, and remove those of members that left.
-- KEYS: the stream. ARGV: group, suffix of sentinel consumers, prefix of the marks' groups, entry id to move to; then for
-- each mark its group's name and its position when it was read. Returns the number of marks that were moved or removed.
local present, positions, changed = {}, {}, 0
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do present[consumer[2]] = true end
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  for at = 1, #group, 2 do
    if group[at] == 'last-delivered-id' then positions[group[2]] = group[at + 1] end
  end
end
for at = 5, #ARGV, 2 do
  local name = ARGV[at]
  if positions[name] == ARGV[at + 1] then
    local removed = 0
    if not present[string.sub(name, #ARGV[3] + 1) .. ARGV[2]] then
      removed = redis.pcall('XGROUP', 'DESTROY', KEYS[1], name)
    end
    if removed ~= 1 then -- the member is there, or the user may not remove groups
      redis.call('XGROUP', 'SETID', KEYS[1], name, ARGV[4])
    end
    changed = changed + 1
  end
end
return changed
