-- Correct a shard's number of events. ARGV: time to live, the number before, the new number.
-- Returns 1, or 0 where events were written or deleted since the number was read.
if (call('GET', p .. 'n') or '0') ~= ARGV[2] then return 0 end
call('PEXPIRE', p .. 'n', ttl)  -- a first write that needs no memory: then a full server accepts the next command
call('SET', p .. 'n', ARGV[3], 'PX', ttl)
return 1
