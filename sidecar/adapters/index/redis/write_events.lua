-- Write packed events and what they are found by.
-- ARGV: time to live, a random id for the shard to keep if it has none, then three lists, each preceded by its
-- length: buckets (key, number of parts, field and packed event in turn); sets (key, number of members, members); ids
-- (hash, member).
-- Returns the random id that the shard keeps, and its number of events.
local new_epoch = ARGV[at]
at = at + 1
local new, consumed = 0, {}
for _ = 1, number() do
  local key = p .. ARGV[at]
  at = at + 1
  local parts = number()
  new = new + many('HSET', key, parts)
  extend(key)
end
for _ = 1, number() do
  local key = p .. ARGV[at]
  at = at + 1
  if many('SADD', key, number()) > 0 then extend(key) end
end
for _ = 1, number() do
  local id, member = ARGV[at], ARGV[at + 1]
  local key = p .. 'i' .. id
  at = at + 2
  if call('SADD', key, member) == 1 then
    extend(key)
    local count = call('SCARD', key)
    if count > 1 then
      -- The set has a cause and its effects: record from which streams the producer of an effect consumes.
      local role = byte(member)
      for _, other in ipairs(count > 128 and call('SRANDMEMBER', key, 128) or call('SMEMBERS', key)) do
        if byte(other) ~= role then
          local effect, cause = member, other
          if role == 0 then effect, cause = other, member end
          consumed[sub(effect, 2, 5) .. sub(cause, 2, 7)] = id
        end
      end
    end
  end
end
for pair, id in pairs(consumed) do
  local producer, log = sub(pair, 1, 4), sub(pair, 5)
  if producer ~= '\0\0\0\0' then
    local key = p .. 'y' .. producer
    local old = call('HGET', key, log) or ''
    local known = false
    for n = 1, #old, 4 do
      if sub(old, n, n + 3) == id then known = true end
    end
    if not known then call('HSET', key, log, id .. sub(old, 1, 12)) end
    extend(key)
  end
end
local epoch = call('GET', p .. 'g')
if not epoch then
  epoch = new_epoch
  call('SET', p .. 'g', epoch)
end
extend(p .. 'g')
local count = call('INCRBY', p .. 'n', new)
extend(p .. 'n')
return {epoch, count}
